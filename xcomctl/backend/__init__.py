"""The shared backend module: what Airflow and the command line both encode and decode XComs with."""
