"""What runs: configuration, the DAG, the runners, the command line and read-only metadata queries."""
