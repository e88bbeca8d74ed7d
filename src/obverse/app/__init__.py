"""The app: turn the knob, compare, and keep the report (extra `app`)."""
