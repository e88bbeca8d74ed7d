"""Published tables: `python -m benchmarks NAME [--quick]`. Never imported by the package."""
