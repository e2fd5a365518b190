"""The groups of the command line: each module owns one group and exports its Typer app."""
