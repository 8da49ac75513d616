"""Notices by mail: SMTP with TLS, one message a connection, bounded in time.

- TLS is required, and the server's certificate checked: `starttls` (the default), or `tls` from the first byte. `none`
  is for a server on this machine (`retention.config_notices`). A server that offers no STARTTLS gets no message.
- Each step has its limit, and so has the whole once the connection stands: a server that drips is cut off then.
- The Message-ID is the notice's id at the sender's domain, the same at every try: a duplicate is seen to be one.
  `Auto-Submitted` (RFC 3834) keeps absence notices from being sent back.
- Of what a server says its status is kept, and nothing else.
"""

from __future__ import annotations

import smtplib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime

import certifi

from retention.config_notices import MailServer
from retention.domain.notice import Message, Target, Undelivered

STEP_SECONDS, SECONDS = 10.0, 30.0


class MailSender:
    """A Sender; without a `server` every try fails, with the reason `mail-not-set-up`."""

    def __init__(self, server: MailServer | None, *, seconds: float = SECONDS) -> None:
        self._server, self._seconds = server, seconds

    def send(self, message: Message, target: Target, now: datetime) -> None:
        if self._server is None:
            raise Undelivered("mail-not-set-up")
        try:
            with _bounded(_unconnected(self._server), self._seconds) as smtp:
                smtp.connect(self._server.host, self._server.port)
                _submit(smtp, self._server, written(message, self._server.sender, target.address, now))
        except smtplib.SMTPRecipientsRefused as error:
            raise Undelivered(f"smtp-{_worst(error)}") from None
        except smtplib.SMTPResponseException as error:
            raise Undelivered(f"smtp-{error.smtp_code}") from None
        except smtplib.SMTPNotSupportedError:
            raise Undelivered("no-starttls") from None
        except ssl.SSLError:
            raise Undelivered("tls") from None
        except TimeoutError:
            raise Undelivered("too-slow") from None
        except (OSError, smtplib.SMTPException):
            raise Undelivered("unreachable") from None


def _unconnected(server: MailServer) -> smtplib.SMTP:
    smtp = smtplib.SMTP(timeout=STEP_SECONDS)
    if server.security == "tls":
        smtp = smtplib.SMTP_SSL(timeout=STEP_SECONDS, context=_context(server))
    # The name that the certificate must have; the constructor would take it, but connect at once, outside the limit.
    smtp._host = server.host  # type: ignore[attr-defined]
    return smtp


def _submit(smtp: smtplib.SMTP, server: MailServer, mail: EmailMessage) -> None:
    if server.security == "starttls":
        smtp.starttls(context=_context(server))
    if server.user is not None:
        smtp.login(server.user, server.password or "")
    smtp.send_message(mail)


def written(message: Message, sender: str, receiver: str, now: datetime) -> EmailMessage:
    """Write the mail of a message."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, receiver
    mail["Subject"] = f"casevault: {message.title}" + (f" (case {message.case})" if message.case else "")
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2].strip('>')}>"
    mail["Auto-Submitted"] = "auto-generated"
    more = f"More, after signing in: {message.link}\n" if message.link else ""
    text = f"{message.text}\n\nWhen: {message.at:%Y-%m-%d %H:%M:%S} UTC\nEntry in the log: {message.entry}\n{more}"
    mail.set_content(text, cte="7bit" if text.isascii() else "base64")
    return mail


def _context(server: MailServer) -> ssl.SSLContext:
    # Not `create_default_context`, which writes the session's keys to SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(server.authorities or certifi.where())
    return context


@contextmanager
def _bounded(smtp: smtplib.SMTP, seconds: float) -> Iterator[smtplib.SMTP]:
    """Cut the connection off after `seconds`, and close it at the end, without a farewell that could fail."""
    over = threading.Event()

    def cut() -> None:
        over.set()
        with suppress(OSError):
            if smtp.sock is not None:
                smtp.sock.shutdown(2)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield smtp
    except (OSError, smtplib.SMTPException):
        if over.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        smtp.close()


def _worst(error: smtplib.SMTPRecipientsRefused) -> int:
    return max(code for code, _ in error.recipients.values())
