"""Version of the package, without importing anything."""

VERSION = "0.1.0"
