"""What several verbs share: starting, following, what comes next, and how a job ends."""
