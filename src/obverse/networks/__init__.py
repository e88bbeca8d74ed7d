"""Building blocks and networks that more than one method uses."""
