"""Kafka with locks: who may do what there (`grants`), and the program that sees to it (`acls`)."""
