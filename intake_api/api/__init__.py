"""The HTTP API as an application: its context, its callers, its errors, its routes.

routes/            The resources, one thin module each: read the request, call custody's verb, write the answer.
app.py             The HTTP API as a Flask application: rules before and after every route, the routes, and the
                   OpenAPI document.
authentication.py  Who calls: each request's id, its token turned into an actor, and the bounds on its body.
context.py         What the HTTP API works with: custody behind it, the judge of tokens before it.
looks.py           What each route leaves in the log: every look at something is an entry (P3), and no route is
                   without a row.
problem_codes.py   The codes of problems: one code, one row: its status, its title, and what to do about it
                   (/problems/<code>).
problems.py        Errors -> HTTP: the only such table. Answers are RFC 9457 problem details; their codes are in
                   `problem_codes`.
readiness.py       Whether every part that custody needs is there: what `/readyz` responds.
"""
