"""Which arguments and environment variables of a vLLM server can change its answers: all but the known harmless ones.

Harmless means: decides where, how fast or how talkatively the server works, not what it computes. (Batch sizes and
parallelism move the last bits of sums, as every batch does: vLLM promises no more, see docs/models.md.)
Names are those of vLLM 0.11 to 0.33.
"""

from collections.abc import Iterator, Mapping, Sequence

from spar_core.hashing import digest

_SHORT = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size"}
_FLAGS_WITHOUT_EFFECT = """
--host --port --uds --root-path --served-model-name --api-key --hf-token --allowed-origins --allowed-methods
--allowed-headers --allow-credentials --ssl-keyfile --ssl-certfile --ssl-ca-certs --ssl-cert-reqs --enable-ssl-refresh
--api-server-count --headless --h11-max-header-count --h11-max-incomplete-event-size
--disable-frontend-multiprocessing --disable-fastapi-docs --uvicorn-log-level --disable-uvicorn-access-log
--log-config-file --max-log-len --enable-log-requests --disable-log-requests --disable-log-stats --enable-log-outputs
--enable-log-deltas --log-error-stack --show-hidden-metrics-for-version --otlp-traces-endpoint
--collect-detailed-traces --enable-request-id-headers --enable-server-load-tracking --kv-events-config
--enable-force-include-usage --enable-prompt-tokens-details --gpu-memory-utilization --swap-space --cpu-offload-gb
--kv-cache-memory-bytes --block-size --num-gpu-blocks-override --enable-prefix-caching --prefix-caching-hash-algo
--enforce-eager --cuda-graph-sizes --max-num-seqs --max-num-batched-tokens --max-num-partial-prefills
--max-long-partial-prefills --long-prefill-token-threshold --enable-chunked-prefill --async-scheduling
--scheduling-policy --stream-interval --tensor-parallel-size --pipeline-parallel-size --data-parallel-size
--data-parallel-size-local --data-parallel-rank --data-parallel-start-rank --data-parallel-address
--data-parallel-rpc-port --data-parallel-backend --data-parallel-hybrid-lb --data-parallel-external-lb
--decode-context-parallel-size --enable-expert-parallel --distributed-executor-backend --ray-workers-use-nsight
--disable-custom-all-reduce --max-parallel-loading-workers --download-dir --use-tqdm-on-load --enable-sleep-mode
"""
_HARMLESS_FLAGS = frozenset(_FLAGS_WITHOUT_EFFECT.split())
_VARIABLES_WITHOUT_EFFECT = """
VLLM_API_KEY VLLM_PORT VLLM_HOST_IP VLLM_LOOPBACK_IP VLLM_CACHE_ROOT VLLM_CONFIG_ROOT VLLM_ASSETS_CACHE
VLLM_RPC_BASE_PATH VLLM_RPC_TIMEOUT VLLM_ENGINE_ITERATION_TIMEOUT_S VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS
VLLM_HTTP_TIMEOUT_KEEP_ALIVE VLLM_KEEP_ALIVE_ON_ENGINE_DEATH VLLM_ENGINE_READY_TIMEOUT_S VLLM_WORKER_MULTIPROC_METHOD
VLLM_ENABLE_V1_MULTIPROCESSING VLLM_CPU_KVCACHE_SPACE VLLM_CPU_OMP_THREADS_BIND VLLM_CPU_NUM_OF_RESERVED_CPU
VLLM_LOGGING_LEVEL VLLM_LOGGING_PREFIX VLLM_LOGGING_STREAM VLLM_LOGGING_COLOR VLLM_LOGGING_CONFIG_PATH
VLLM_CONFIGURE_LOGGING VLLM_LOG_STATS_INTERVAL VLLM_LOG_BATCHSIZE_INTERVAL VLLM_DEBUG_LOG_API_SERVER_RESPONSE
VLLM_TRACE_FUNCTION VLLM_RINGBUFFER_WARNING_INTERVAL VLLM_NO_USAGE_STATS VLLM_DO_NOT_TRACK VLLM_USAGE_SOURCE
VLLM_USAGE_STATS_SERVER VLLM_SERVER_DEV_MODE VLLM_TORCH_PROFILER_DIR VLLM_MEDIA_LOADING_THREAD_COUNT
VLLM_SKIP_P2P_CHECK VLLM_IMAGE_FETCH_TIMEOUT VLLM_DISABLE_COMPILE_CACHE VLLM_RAY_PER_WORKER_GPUS
VLLM_RAY_BUNDLE_INDICES VLLM_DP_RANK VLLM_DP_SIZE VLLM_DP_MASTER_IP VLLM_DP_MASTER_PORT VLLM_NCCL_SO_PATH
VLLM_MOONCAKE_BOOTSTRAP_PORT
"""
_HARMLESS_VARIABLES = frozenset(_VARIABLES_WITHOUT_EFFECT.split())


def answering_flags(arguments: Sequence[str]) -> list[str]:
    """The arguments that may change answers, each as its flag and a digest of its values, sorted by flag.

    Equal flags keep their order, since the last one wins; `--a_b=1`, `--a-b 1` and `--a-b=1` are written alike.
    """
    kept = [(name, values) for name, values in _flags(arguments) if not _is_harmless(name)]
    return [f"{name} {digest(values)}" for name, values in sorted(kept, key=lambda flag: flag[0])]


def answering_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The VLLM_ variables that may change answers, with digests of their values."""
    return {
        name: digest(value)
        for name, value in sorted(variables.items())
        if name.startswith("VLLM_") and name not in _HARMLESS_VARIABLES
    }


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with its values; values before the first flag come under an empty name."""
    name, values = "", list[str]()
    for argument in arguments:
        if argument.startswith("-") and not _is_number(argument):
            if name or values:
                yield name, values
            name, equals, value = argument.partition("=")
            name = _SHORT.get(name, name.replace("_", "-") if name.startswith("--") else name)
            values = [value] if equals else []
        else:
            values.append(argument)
    if name or values:
        yield name, values


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS_FLAGS or name.replace("--no-", "--", 1) in _HARMLESS_FLAGS


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
