"""How the schema grew; Alembic runs these when a store is opened."""
