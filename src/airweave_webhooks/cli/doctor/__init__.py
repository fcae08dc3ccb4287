"""`airweave-webhooks doctor`: look for what is wrong with a receiver, from outside over HTTP, or from inside."""
