"""What AWS and its SDK say when something is wrong, as words that tell what to do."""

from __future__ import annotations

import re

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
    SSOError,
)

from keyform.errors import StoreError

DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken", "RequestExpired"})
_NOT_ACCEPTED = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "InvalidAccessKeyId",
        "AuthFailure",
    }
)
_THROTTLED = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "TooManyUpdates",
    }
)
_QUOTA = frozenset({"LimitExceededException", "ParameterLimitExceeded", "ParameterMaxVersionLimitExceeded"})
_KMS = frozenset({"DecryptionFailure", "EncryptionFailure", "InvalidKeyId"})
_KMS_ACTIONS = {
    "secretsmanager": "kms:Decrypt and kms:GenerateDataKey",
    "ssm": "kms:Encrypt and kms:Decrypt (for the advanced tier, kms:GenerateDataKey too)",
}
_LONGEST = 600


class AwsError(StoreError):
    """``reason`` is the error code of AWS, or "" where it gave none."""

    def __init__(self, summary: str, detail: str, reason: str = "") -> None:
        super().__init__(summary, detail)
        self.reason = reason


def explain(
    store: str, service: str, operation: str, resource: str, region: str | None, problem: Exception
) -> AwsError:
    """A ``ClientError`` or ``BotoCoreError`` of the call ``operation`` on ``resource`` in words."""
    where = f"{resource} in {region}" if region else resource
    if isinstance(problem, ClientError):
        return _refused(store, service, operation, where, problem)
    summary = f"Store {store!r} could not reach AWS for {where}"
    if isinstance(problem, NoRegionError):
        summary = f"Store {store!r} has no AWS region"
        detail = "Give the store a `region`, or set AWS_REGION or the region of the AWS profile."
    elif isinstance(problem, NoCredentialsError | PartialCredentialsError):
        summary = f"Store {store!r} found no complete AWS credential for {where}"
        detail = (
            "Sign in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or run where there is a role. `aws sts get-caller-identity` shows what the SDK finds."
        )
    elif isinstance(problem, ProfileNotFound):
        summary = f"Store {store!r}: {problem}"
        detail = "Check `profile` in the store's options, AWS_PROFILE, and ~/.aws/config."
    elif isinstance(problem, SSOError | CredentialRetrievalError):
        summary = f"Store {store!r} could not get its AWS credential for {where}: {_short(problem)}"
        detail = "Sign in again (`aws sso login`, with --profile where the store has one), then run it again."
    elif isinstance(problem, ReadTimeoutError | ConnectTimeoutError):
        waited = "did not answer" if isinstance(problem, ReadTimeoutError) else "did not accept a connection"
        summary = f"Store {store!r}: AWS {waited} in time for {operation} of {where}"
        detail = "Check the network, a proxy and VPC endpoints, then run it again; nothing is lost."
    elif isinstance(problem, SSLError):
        summary += f": {_short(problem)}"
        detail = "Check the certificates that this machine trusts (AWS_CA_BUNDLE), and a proxy in between."
    elif isinstance(problem, EndpointConnectionError | HTTPClientError):
        summary += f": {_short(problem)}"
        detail = (
            "Check that the region exists and is spelt as AWS does (such as eu-west-1), the network, a "
            "proxy, and `endpoint_url` where the store has one. Then run it again; nothing is lost."
        )
    else:
        summary = f"Store {store!r} could not carry out {operation} of {where}: {type(problem).__name__}"
        detail = f"The AWS SDK says: {_short(problem)}"
    return AwsError(summary, detail)


def _refused(store: str, service: str, operation: str, where: str, problem: ClientError) -> AwsError:
    answer = problem.response.get("Error", {})
    reason, said = answer.get("Code", ""), _short(answer.get("Message", ""))
    if problem.operation_name == "AssumeRole":
        service, operation = "sts", "AssumeRole"
    action = f"{service}:{operation}"
    summary = f"Store {store!r}: AWS refused {operation} of {where}"
    detail = f"AWS says: {reason}: {said}" if said else f"AWS says: {reason}"
    if reason in DENIED and re.search(r"\bkms\b", said, re.I):
        summary = f"Store {store!r}: the credential may not use the KMS key of {where}"
        actions = _KMS_ACTIONS.get(service, "its use")
        detail = f"Allow it {actions} on that key, in IAM and in the key's policy. {detail}"
    elif reason in DENIED:
        summary = f"Store {store!r}: the credential lacks {action} for {where}"
        detail = (
            f"Add {action} to its policy; keyform's documentation of the store has the whole policy. {detail}"
        )
    elif reason in _EXPIRED:
        summary = f"Store {store!r}: the AWS credential has expired ({operation} of {where})"
        detail = (
            "Sign in again (`aws sso login`, or a fresh session token) and run it again; what was under way "
            f"is finished then. If it is fresh, check this machine's clock. {detail}"
        )
    elif reason in _NOT_ACCEPTED:
        summary = f"Store {store!r}: AWS does not accept the credential ({operation} of {where})"
        detail = (
            f"Check with `aws sts get-caller-identity` which one is used, and this machine's clock. {detail}"
        )
    elif reason in _THROTTLED:
        summary = f"Store {store!r}: AWS throttled {operation} of {where}, and went on after several attempts"
        detail = f"Run it again later, or with a lower --parallelism; nothing is lost. {detail}"
    elif reason in _QUOTA:
        summary = f"Store {store!r}: a quota of AWS stands in the way of {operation} of {where}"
        detail = f"Ask AWS for more (Service Quotas), or delete what is not used any more. {detail}"
    elif reason in _KMS:
        summary = f"Store {store!r}: the KMS key of {where} does not work"
        detail = (
            f"Check that the key exists in this region, is enabled, and is the one in `kms_key`. {detail}"
        )
    return AwsError(summary, detail, reason)


def _short(said: object) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
