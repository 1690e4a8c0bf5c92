"""Where an OpenAI-compatible server listens, and how its address is shown without its secrets."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from avengers_pro.embedding.embedder import EmbeddingOptions
from avengers_pro.errors import EmbeddingError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One ``/embeddings`` address.

    Attributes:
        shown: The address without user, password and query, for messages.
        url: The address to post to.
        api_key: Bearer token; empty = none.
    """

    shown: str
    url: str = field(repr=False)
    api_key: str = field(repr=False)

    @classmethod
    def from_options(cls, options: EmbeddingOptions, purpose: str) -> "Endpoint":
        """Check the address and the key, for the sake of ``purpose``.

        Raises:
            EmbeddingError: If the base URL is missing or no http(s) URL, or the key has a line break in it.
        """
        if not options.base_url:
            raise EmbeddingError(
                f"{purpose} needs the address of an OpenAI-compatible API, up to and including /v1: "
                "give --embedding-base-url or set EMBEDDING_BASE_URL"
            )
        try:
            parts = urlsplit(options.base_url.strip())
            is_usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number, or half an IPv6 address
            is_usable = False
        if not is_usable:  # and is not shown: a password may be in it
            raise EmbeddingError(
                f"the embedding base URL of {purpose} must look like http://localhost:8000/v1, "
                "with http or https, a host, and a port if it needs one"
            )
        api_key = (options.api_key or "").strip()
        if not api_key.isprintable():
            raise EmbeddingError("the embedding API key (EMBEDDING_API_KEY) has a line break or control character")
        if api_key and "@" in parts.netloc:
            raise EmbeddingError(f"{purpose} has both an API key and a user in its base URL; HTTP can carry only one")
        path = f"{parts.path.rstrip('/')}/embeddings"
        host = parts.netloc.rpartition("@")[2]
        shown = urlunsplit((parts.scheme, host, path, "", ""))
        return cls(shown, urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), api_key)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        content = {"Content-Type": "application/json"}
        return content | ({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})
