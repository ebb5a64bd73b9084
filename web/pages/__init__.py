"""Pages for people: sign-in, worklist, cases, sending, receipts, the engineer's view."""
