"""Agent, meters, broker and centre as processes of their own, over real sockets."""
