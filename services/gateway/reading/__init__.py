"""The read model as the API shows it: never a cloud call, never another project's rows."""
