"""Whether TLS to a host is as it should be: certificate trusted, and not made by somebody in between."""
from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import Optional

import certifi
import globus_sdk.config
from cryptography import x509

from parsl.executors.globus_compute_multi.doctor.findings import (
    Finding,
    ok,
    problem,
    skipped,
    warning,
)
from parsl.executors.globus_compute_multi.doctor.network import (
    Proxy,
    ProxyFault,
    Target,
    connect,
    reason,
)

# OpenSSL's numbers of what may be wrong with a certificate.
_NOT_YET_VALID, _EXPIRED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 62, 64


@dataclass(frozen=True)
class Trust:
    """Which certificate authorities (CAs) are trusted.

    Parameters
    ----------
    source : str
        Where they are from, for people.
    path : str or None
        File; None: the system's.
    variable : str
        Environment variable that would name other ones.
    public : bool
        Whether they are just the public CAs that browsers have.
    """

    source: str
    path: Optional[str]
    variable: str
    public: bool = False

    def context(self) -> ssl.SSLContext:
        """TLS with these.

        Raises
        ------
        OSError
            If there are none at ``path``.
        """
        return ssl.create_default_context(cafile=self.path)


PUBLIC = Trust("the public CAs", certifi.where(), "GLOBUS_SDK_VERIFY_SSL", public=True)


def https_trust() -> Optional[Trust]:
    """Whom the SDK trusts for HTTPS; None if it is told not to check certificates.

    Not by REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE: its transport tells ``requests`` whom to trust, which then looks at neither.

    Raises
    ------
    ValueError
        If GLOBUS_SDK_VERIFY_SSL cannot be used.
    """
    verify = globus_sdk.config.get_ssl_verify()
    if verify is False:
        return None
    if isinstance(verify, str):
        return Trust(f"GLOBUS_SDK_VERIFY_SSL={verify}", verify, "GLOBUS_SDK_VERIFY_SSL")
    return PUBLIC


def amqp_trust() -> Trust:
    """Whom pika trusts: the system's CAs, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if os.environ.get(variable):
            return Trust(f"{variable}={os.environ[variable]}", None, variable)
    return Trust("the system's CAs", None, "SSL_CERT_FILE")


def check_https(check: str, target: Target, proxy: Optional[Proxy]) -> Finding:
    """Check TLS to the service as the SDK would speak it."""
    if not target.tls:
        if target.is_loopback:
            return skipped(check, "not used: the service is on this machine")
        return problem(check, f"the address of {target} begins with http, so credentials would go over the network in clear",
                       "unset the variables that begin with GLOBUS_SDK_, unless you know better")
    try:
        trust = https_trust()
    except ValueError as e:
        return problem(check, f"GLOBUS_SDK_VERIFY_SSL: {e}", "correct or unset it")
    if trust is None:
        return warning(check, "certificates are not checked, since GLOBUS_SDK_VERIFY_SSL says so: anybody in between can read your credentials",
                       "unset GLOBUS_SDK_VERIFY_SSL")
    if proxy is not None and not proxy.can_tunnel:
        return skipped(check, f"not looked at through a proxy of this kind ({proxy.scheme}); the next request shows whether it works")
    return check_tls(check, target, proxy, trust)


def check_tls(check: str, target: Target, proxy: Optional[Proxy], trust: Trust) -> Finding:
    """Check the certificate that a host shows, and that the CA behind it is a public one.

    A CA that is trusted because the user or the system says so, and that is not among the public ones, is the mark of somebody who opens
    TLS on its way: a proxy of the site, or security software. Whoever has a public CA's certificate for the host is taken for the host.
    """
    try:
        context = trust.context()
    except OSError as e:
        return problem(check, f"the CA certificates cannot be read from {trust.source}: {reason(e)}", f"correct or unset {trust.variable}")
    try:
        with shake_hands(target, proxy, context) as connection:
            issuer, version = _issuer(connection), connection.version()
    except ssl.SSLCertVerificationError as e:
        return _not_trusted(check, target, proxy, trust, e)
    except ProxyFault as e:
        return problem(check, str(e), e.remedy)
    except (OSError, ValueError) as e:
        return problem(check, f"no TLS with {target}: {reason(e)}", "something in between may close what it cannot read: ask your site's "
                       "administrators whether TLS is inspected or filtered, and that it is not for this host")
    found = f"{version} with {target}, certificate issued by {issuer}"
    if not trust.public and not _is_public(target, proxy):
        return warning(check, f"{found}, which is no public CA and is trusted because of {trust.source}: so TLS is opened on its way",
                       "it may work; if AMQP or large results fail, ask your site's administrators not to inspect TLS to this host")
    return ok(check, f"{found}, trusted because of {trust.source}")


def shake_hands(target: Target, proxy: Optional[Proxy], context: ssl.SSLContext) -> ssl.SSLSocket:
    """Open a TLS connection.

    Raises
    ------
    OSError
        ``ssl.SSLError`` is one.
    ValueError
        If the host's name cannot be one.
    """
    connection = connect(target, proxy)
    try:
        return context.wrap_socket(connection, server_hostname=target.host)
    except BaseException:
        connection.close()
        raise


def _is_public(target: Target, proxy: Optional[Proxy]) -> bool:
    """Whether the certificate is trusted by those who trust only public CAs, as far as can be told."""
    try:
        with shake_hands(target, proxy, PUBLIC.context()):
            return True
    except ssl.SSLCertVerificationError:
        return False
    except OSError:
        return True  # it worked a moment ago, and says nothing of the certificate


def _not_trusted(check: str, target: Target, proxy: Optional[Proxy], trust: Trust, error: ssl.SSLCertVerificationError) -> Finding:
    found = f"the certificate of {target} is not accepted: {error.verify_message or 'it cannot be verified'}"
    if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return problem(check, found, "check the clock of this machine; if it is right, something between it and the service shows an old "
                       "certificate: tell your site's administrators")
    issuer = _unverified_issuer(target, proxy)
    if error.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
        return problem(check, f"{found}. It was issued by {issuer}", "something else answers in the host's place (a login page of the network, "
                       "a proxy): log in to the network, or ask your site's administrators")
    return problem(check, f"{found}. It was issued by {issuer}, which is not trusted ({trust.source})",
                   "if that is a CA of your site, which then opens TLS on its way, get its certificate, and name a file that holds it and the "
                   f"public ones in {trust.variable}; if not, update the CA certificates here (pip install -U certifi, or the system's)")


def _unverified_issuer(target: Target, proxy: Optional[Proxy]) -> str:
    """Who has issued a certificate that is not trusted. Nothing is sent over that connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with shake_hands(target, proxy, context) as connection:
            return _issuer(connection)
    except (OSError, ValueError) as e:
        return f"an unknown one ({reason(e)})"


def _issuer(connection: ssl.SSLSocket) -> str:
    content = connection.getpeercert(binary_form=True)
    return "nobody" if content is None else repr(x509.load_der_x509_certificate(content).issuer.rfc4514_string())
