"""The Tasks API served from this machine: a rehearsal stage for clients, loopback only."""
