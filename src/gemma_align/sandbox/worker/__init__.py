"""What runs in the sandbox's own processes. Standard library only: they are started without the project's packages."""
