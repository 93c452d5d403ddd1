"""Review and orders: queue, orders, specifications, exports, accounts."""
