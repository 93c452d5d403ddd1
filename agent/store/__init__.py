"""Database of a site: tables, migrations, transactions and one repository per subject.

`tables` defines the schema, `schema` and `migrations` upgrade an older database, `engine` opens
transactions. `Store` opens the database and carries the repositories. Only this package contains
SQL.

    work      files and long jobs      results   micrographs and what was made of them
    people    accounts and decisions   orders    orders, specimens, lists, statements
    bundles   promotions, rollouts     evidence  audit log, what each table fixes, its checks
    search    the archive's search     sites     whose rows a statement reads

Names are imported on first use, as the repositories of `Store` are: a short command spends most of
its time on imports.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
