"""Audit owns the ledger: every command, event, refusal and dead letter, append-only, hash-chained.

Hears: every topic that names audit among its consumers (`contracts/topics.py`).
Says: nothing of its own; a record that it cannot read goes to `dead.letters` as everywhere. Of its own
it writes only that no outcome came of a command in time (`intents`), into the ledger.
"""
