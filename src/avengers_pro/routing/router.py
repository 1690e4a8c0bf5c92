"""The router: embedder + fitted method; fit, route, explain, save, load."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Embedder, EmbeddingOptions, Vectors, load_embedder
from avengers_pro.embedding.format import WithFormat, with_format
from avengers_pro.errors import EmbedderMismatchError, MethodError
from avengers_pro.records.table import Records
from avengers_pro.routing import artifact, change
from avengers_pro.routing.choice import choose, weigh
from avengers_pro.routing.counterfactual import contributions, counterfactuals, widest
from avengers_pro.routing.decision import Decision
from avengers_pro.routing.estimates import everywhere
from avengers_pro.routing.explanation import ALPHAS, Explanation, near_clusters, stretches
from avengers_pro.routing.meanings import Meanings
from avengers_pro.routing.method import Estimate, FittedMethod, Method
from avengers_pro.routing.methods import DEFAULT_METHOD, REFERENCES, build_method
from avengers_pro.routing.multiresolution_estimate import MultiResolutionEstimate
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution
from avengers_pro.routing.place import RouterPlace
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.prompt import Prices, Prompt
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.stored import load_named, read_parts, save_router, suited
from avengers_pro.routing.training import cluster_examples, means_of, model_facts

BATCH = 8192
"""Queries decided in one go; bounds memory."""


class Router:
    """Sends each query to the model with the best performance-efficiency score under the caller's policy.

    One fit serves every policy: ``alpha`` and the constraints come with the request.

    Attributes:
        method: How it decides.
        fitted: What it learnt.
        embedding: Which embedder made the vectors it was fitted on, and their length.
        facts: Each model's record, in the order of ``models``.
        examples: For each cluster, training queries near its centre; empty for methods without clusters.
        fingerprint: Of the training records.
        seed: Of the fit.
        lineage: How the router came to be, first step first.
    """

    def __init__(
        self,
        method: Method,
        fitted: FittedMethod,
        embedder: Embedder | None,
        *,
        embedding: artifact.EmbedderEntry,
        facts: Sequence[artifact.ModelEntry],
        examples: Sequence[Sequence[str]],
        fingerprint: str,
        seed: int,
        lineage: Sequence[artifact.Step],
    ) -> None:
        """Put a router together; use ``fit`` or ``load``."""
        self.method, self.fitted = method, fitted
        self._embedder = embedder
        self.embedding = embedding
        self.facts, self.examples = tuple(facts), tuple(tuple(texts) for texts in examples)
        self.fingerprint, self.seed, self.lineage = fingerprint, seed, tuple(lineage)
        self._prices = Prices.of(self.facts)
        self._meanings = Meanings(method, fitted, self.facts)

    @classmethod
    def fit(
        cls,
        records: Records,
        embedder: str | Embedder = "static",
        method: str | Method = DEFAULT_METHOD,
        *,
        vectors: Vectors | None = None,
        seed: int = 42,
        keep_examples: bool = True,
        embedder_spec: str | None = None,
        options: EmbeddingOptions | None = None,
        **params: Any,
    ) -> "Router":
        """Learn from records; repeated query texts count once.

        Args:
            records: n queries x m models.
            embedder: A spec string or an embedder.
            method: A method's name or the method itself.
            vectors: (n, d) unit rows of the records' queries, if they are at hand.
            seed: Of everything random; the same seed gives the same router.
            embedder_spec: What loads the embedder again, if it is given as an object; its id if None.
            options: How the embedder was set up; what changes vectors is remembered.
            keep_examples: Keep a few training queries of each cluster, which ``explain`` shows.
            params: The method's parameters, if it is given by name.

        Raises:
            MethodError: If the method or a parameter is unknown.
            EmbeddingError: If a query cannot be embedded.
        """
        if isinstance(embedder, str):
            embedder_spec, embedder = embedder, load_embedder(embedder, options or EmbeddingOptions())
        chosen = build_method(method, params) if isinstance(method, str) else method
        if chosen.name in REFERENCES:
            raise MethodError(f"{chosen.name} is a reference for evaluations; it cannot serve as a router")
        unique = records.deduplicated()
        if vectors is not None and len(vectors) != len(records):
            raise MethodError(f"{len(vectors)} vectors for {len(records)} records; one row each is needed")
        if vectors is None:
            vectors = embedder.embed(unique.queries)
        elif len(unique) < len(records):
            vectors = vectors[sorted(records.first_rows().values())]
        if chosen.features == "format":
            embedder, vectors = WithFormat(embedder), with_format(vectors, unique.queries)
        fitted = chosen.fit(unique, vectors, seed)
        return cls(
            chosen,
            fitted,
            embedder,
            embedding=artifact.EmbedderEntry(
                embedder_spec or embedder.id,
                embedder.id,
                vectors.shape[1],
                options.dimensions if options else None,
                options.max_tokens if options else None,
            ),
            facts=model_facts(unique, fitted.models),
            examples=cluster_examples(fitted, unique.queries, vectors, seed) if keep_examples else (),
            fingerprint=unique.fingerprint,
            seed=seed,
            lineage=[artifact.Step("fit", {"records": unique.fingerprint, "queries": len(unique)})],
        )

    @property
    def models(self) -> tuple[str, ...]:
        """The pool, in the order of ties."""
        return self.fitted.models

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, d) unit rows by the router's embedder.

        Raises:
            EmbedderMismatchError: If the embedder at hand is not the one of the fit.
        """
        if self._embedder is None:
            self._embedder = suited(load_named(self.embedding, EmbeddingOptions()), self.method)
        vectors = self._embedder.embed(texts)
        if self._embedder.id != self.embedding.id or vectors.shape[1] != self.embedding.dimension:
            raise EmbedderMismatchError(
                f"the router was fitted with {self.embedding.id} ({self.embedding.dimension}-d); the embedder here is "
                f"{self._embedder.id} ({vectors.shape[1]}-d). Use the same one, or fit again"
            )
        return vectors

    def route(self, text: str, policy: Policy | None = None) -> Decision:
        """Decide for one query.

        Raises:
            PolicyError: If the policy names an unknown model.
            EmbeddingError: If the text is empty.
        """
        return self.route_vector(self.embed([text])[0], policy)

    def route_vector(
        self, vector: NDArray[np.float32], policy: Policy | None = None, prompt: Prompt | None = None
    ) -> Decision:
        """Decide for one query given as its (d,) row, as ``embed`` makes it.

        Args:
            vector: The query.
            policy: What is wanted.
            prompt: What is known of the prompt: costs are then those of this request, where prices are known.
        """
        policy = policy or Policy()
        allowed, fitted = self._meanings.of(policy)
        estimate = fitted.estimate(Queries(self._checked(vector[None, :])))
        if prompt is not None and isinstance(estimate, MultiResolutionEstimate):
            estimate = self._prices.of_requests(estimate, [prompt])
        return Decision(self.models, policy, estimate, weigh(estimate, policy, allowed), allowed)

    def route_blind(self, policy: Policy | None = None, prompt: Prompt | None = None) -> Decision:
        """Decide without looking at the query, by the overall means: for queries without text, or without time."""
        policy = policy or Policy()
        allowed, fitted = self._meanings.of(policy)
        estimate: Estimate
        if isinstance(fitted, FittedMultiResolution):
            estimate = fitted.overall() if prompt is None else self._prices.of_requests(fitted.overall(), [prompt])
        else:
            estimate = everywhere(means_of(self.facts), 1)
        return Decision(self.models, policy, estimate, weigh(estimate, policy, allowed), allowed)

    def is_ready(self, policy: Policy) -> bool:
        """Whether a decision under this policy is quick; the first one of a new pool takes some 40 ms."""
        return self._meanings.knows(policy)

    @property
    def best_single(self) -> str:
        """The model that is best on the training records as a whole."""
        if isinstance(self.fitted, FittedMultiResolution):
            return self.models[self.fitted.calibration.reference]
        return max(self.facts, key=lambda fact: -1.0 if fact.mean_score is None else fact.mean_score).name

    def route_many(self, texts: Sequence[str], policy: Policy | None = None) -> list[Decision]:
        """Decide for many queries at once, in order."""
        return list(self.iter_decisions(self.embed(texts), policy))

    def iter_decisions(
        self, vectors: Vectors, policy: Policy | None = None, prompts: Sequence[Prompt] | None = None
    ) -> Iterator[Decision]:
        """Yield a decision for each of (n, d) rows, worked out in batches; ``prompts`` as in ``route_vector``."""
        policy = policy or Policy()
        allowed, fitted = self._meanings.of(policy)
        for start in range(0, len(vectors), BATCH):
            estimate = fitted.estimate(Queries(self._checked(vectors[start : start + BATCH])))
            if prompts is not None and isinstance(estimate, MultiResolutionEstimate):
                estimate = self._prices.of_requests(estimate, prompts[start : start + BATCH])
            utility = weigh(estimate, policy, allowed)
            for row in range(len(utility)):
                yield Decision(self.models, policy, estimate, utility, allowed, row)

    def route_vectors(self, vectors: Vectors, policy: Policy | None = None) -> NDArray[np.intp]:
        """Return (n,) positions in ``models`` of the chosen models, -1 = infeasible: the fast way for batches."""
        policy = policy or Policy()
        allowed, fitted = self._meanings.of(policy)
        chosen = [
            choose(weigh(fitted.estimate(Queries(self._checked(vectors[i : i + BATCH]))), policy, allowed))
            for i in range(0, len(vectors), BATCH)
        ]
        return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.intp)

    def explain(self, text: str, policy: Policy | None = None) -> Explanation:
        """Decide for one query and say why, and what every other alpha would choose."""
        policy = policy or Policy()
        allowed, fitted = self._meanings.of(policy)
        queries = Queries(self._checked(self.embed([text])))
        estimate = fitted.estimate(queries)
        decision = Decision(self.models, policy, estimate, weigh(estimate, policy, allowed), allowed)
        by_alpha = replace(policy, alpha=0.0, target=None, budget=None)
        _, free = self._meanings.of(by_alpha)
        expected = free.estimate(queries)
        chosen = [
            int(choose(weigh(expected, by_alpha, allowed, alpha=float(alpha)))[0])
            for alpha in np.linspace(0, 1, ALPHAS)
        ]
        names = [None if column < 0 else self.models[column] for column in chosen]
        found = stretches(names)
        near = near_clusters(estimate, self.fitted.cluster_profile, self.examples)
        if not isinstance(estimate, MultiResolutionEstimate):
            return Explanation(decision, near, found)
        alphas = widest([(stretch.alpha_from, stretch.alpha_to, stretch.model) for stretch in found])
        leading = [candidate.model for candidate in decision.candidates[:2]]
        return Explanation(
            decision,
            near,
            found,
            contributions(estimate, leading),
            counterfactuals(decision, estimate, alphas),
        )

    def _checked(self, vectors: Vectors) -> Vectors:
        if vectors.ndim != 2 or vectors.shape[1] != self.embedding.dimension:  # noqa: PLR2004
            raise EmbedderMismatchError(
                f"vectors have shape {vectors.shape}; the router was fitted on {self.embedding.dimension} dimensions"
            )
        if not np.isfinite(vectors.sum()):
            raise EmbedderMismatchError("vectors hold NaN or infinite values")
        return vectors

    def add_model(self, name: str, records: Records) -> "Router":
        """Return a router that also has this model, from its scores in records; few are enough to begin with.

        Below 1,000 scores its expectations follow the other models', as far as those scores bear it out.

        Raises:
            MethodError: If the router has it already, or the records hold no score of it.
        """
        return change.add_model(self, name, records)

    def remove_model(self, name: str) -> "Router":
        """Return a router without this model.

        Raises:
            MethodError: If it is unknown, or the only one.
        """
        return change.remove_model(self, name)

    def reprice(
        self,
        name: str,
        *,
        input_price: float | None = None,
        output_price: float | None = None,
        factor: float | None = None,
    ) -> "Router":
        """Return a router for which this model costs something else.

        Args:
            name: The model.
            input_price: US dollars per million prompt tokens; with ``output_price``, if its tokens are known.
            output_price: US dollars per million completion tokens.
            factor: New costs over old costs, instead of prices.

        Raises:
            MethodError: If the model or its tokens are unknown, or a number has no meaning.
        """
        return change.reprice(self, name, input_price=input_price, output_price=output_price, factor=factor)

    def update(self, records: Records, half_life: float | None = None) -> "Router":
        """Return a router that has also learnt from these records, on the same clusters.

        Args:
            records: New evidence; a query may be observed for a single model. New models are added.
            half_life: New queries after which what was known before counts half; None = it counts as the new does.

        Raises:
            MethodError: If there is nothing to learn, or the half-life is not more than 0.
        """
        return change.update(self, records, half_life)

    def relearn(self, records: Records) -> "Router":
        """Return a router of the same clusters that has learnt from these records alone; it can be merged."""
        return change.relearn(self, records)

    def merge(self, other: "Router") -> "Router":
        """Return a router with the evidence of both, which must share their clusters.

        Raises:
            MethodError: If they do not, or have learnt from the same records.
        """
        return change.merge(self, other)

    def with_pool(self, cards: Sequence[ModelCard]) -> "Router":
        """Return a router with the prices and capabilities of a pool table."""
        return change.with_pool(self, cards)

    def changed(self, fitted: FittedMethod, facts: Sequence[artifact.ModelEntry], step: artifact.Step) -> "Router":
        """Return the same router but for what was fitted, one step further."""
        return Router(
            self.method,
            fitted,
            self._embedder,
            embedding=self.embedding,
            facts=facts,
            examples=self.examples,
            fingerprint=self.fingerprint,
            seed=self.seed,
            lineage=(*self.lineage, step),
        )

    def save(self, folder: str | Path) -> None:
        """Write ``router.json`` and ``router.safetensors``; equal routers give equal bytes."""
        save_router(self, Path(folder))

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        embedder: Embedder | None = None,
        options: EmbeddingOptions | None = None,
        mapped: bool = False,
    ) -> "Router":
        """Read a saved router; nothing in it is ever executed.

        Args:
            folder: As given to ``save``, or where it was published: a folder or a URL.
            embedder: To use instead of the one it names; must have the same id.
            options: How to reach the embedder it names, if that needs a server.
            mapped: Map the arrays, so that processes share their memory; the file must never be written to again.

        Raises:
            UnreachableRouterError: If the URL does not answer.
            DamagedArtifactError: If files are missing, truncated or altered.
            ArtifactVersionError: If another version wrote them.
            EmbedderMismatchError: If the given embedder is not the one of the fit.
        """
        header, method, fitted, embedder = read_parts(RouterPlace(folder).folder(), embedder, options, mapped=mapped)
        return cls(
            method,
            fitted,
            embedder,
            embedding=header.embedder,
            facts=header.models,
            examples=header.examples,
            fingerprint=header.fingerprint,
            seed=header.seed,
            lineage=header.lineage,
        )

    def __repr__(self) -> str:
        """Method, sizes and embedder."""
        return f"Router({self.method.name}, {len(self.models)} models, embedder {self.embedding.id})"
