"""The Tasks API served from this machine, for rehearsals and tests: `server.LocalServer`.

http knows HTTP, storage the state, service what one folder holds; execution runs prompts,
api and pages answer requests, server is the process around it all. faults misbehave on purpose.
"""
