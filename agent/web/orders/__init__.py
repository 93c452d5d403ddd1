"""Pages and acts of orders: board, confirming, fields, statements, places."""
