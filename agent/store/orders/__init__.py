"""Orders, specimens, fields, lists and statements: rows, values and acts."""
