"""The sandbox: a DAG and what builds it, and a tour of what it then shows."""
