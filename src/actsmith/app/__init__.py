"""The playground: `actsmith app`, a page on this machine that redraws what the theory says while one drags.

    browser ── guard ── server ── worker ── jobs: views, training

Views are pure functions from plain values to plain values. They run in processes that are ended when they hang; the
server itself computes nothing, writes nothing, and runs no code but what the command line named.
"""
