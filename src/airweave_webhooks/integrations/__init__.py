"""What a receiver does with other packages. Each module needs its own, and is imported by name."""
