"""The HTTP API as an application: its context, its callers, its errors, its routes.

routes/            The resources, one thin module each: read the request, call custody's verb, write the response.
app.py             The HTTP API as a Flask application: rules before and after every route, the routes, and the
                   OpenAPI document.
authentication.py  Who calls: each request's id, its token turned into an actor, and the bounds on its body.
context.py         The HTTP API's context: custody's services, the token verifier, and the limits.
looks.py           What each route enters in the log: every look at something (P3), and no route without a row.
problem_codes.py   The problem codes, a row each: status, title, and what to do about it (/problems/<code>).
problems.py        Errors -> HTTP, the only such table: RFC 9457 problem details, whose codes are in `problem_codes`.
readiness.py       Whether every part that custody needs is available: what `/readyz` responds.
"""
