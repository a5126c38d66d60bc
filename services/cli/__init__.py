"""The command line: `stillhouse`. Thin over `services.client`; imports what a command needs when it is called."""
