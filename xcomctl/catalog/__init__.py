"""XCom rows in and out: all SQL, and every difference between schemas (Airflow versions) and databases.

Tables are read by Core, never by Airflow's models, which hide the rows of earlier attempts on 3.4. Reads are short
transactions over ranges of a key; a large value is never fetched unless it is the one asked for.
"""

from xcomctl.catalog.catalog import Catalog, StoredValue, open_catalog
from xcomctl.catalog.mentions import Mention, References
from xcomctl.catalog.schema import Schema

__all__ = ["Catalog", "Mention", "References", "Schema", "StoredValue", "open_catalog"]
