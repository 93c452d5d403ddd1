"""Prove the audit log from outside the database: anchors and time stamps."""
