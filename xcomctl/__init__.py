"""See, mend and collect the Airflow XComs that live outside the metadata database."""

__version__ = "0.1.0"
