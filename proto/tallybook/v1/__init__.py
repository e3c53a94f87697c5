"""Version 1 of the contract: the protos, the stubs generated from them, and the service config of every client."""
