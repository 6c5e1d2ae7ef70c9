"""Lists the causes: each with its verdict, the action that helps, its words and the next step. Values only.

One row for each cause. docs/architecture.md ("A cause") says what else a new one needs.
"""

from enum import StrEnum

from msgspec import Struct

from gpu_mesh.domain.health import Verdict


class Action(StrEnum):
    """What a recovery may do. The value is the name of its playbook."""

    RESTART_OLLAMA = "restart_ollama"
    REBUILD_TUNNEL = "rebuild_tunnel"
    # Where the operator allows it for a cause of the node's GPUs:
    RELOAD_GPU_MODULE = "reload_gpu_module"
    RESET_GPU = "reset_gpu"
    REBOOT_HOST = "reboot_host"
    OWN_PLAYBOOK = "own_playbook"  # a playbook of the operator's
    NONE = "none"

    @property
    def repairs_gpu(self) -> bool:
        """Whether root's program on the host does it, for a cause of the GPUs."""
        return self in (Action.RELOAD_GPU_MODULE, Action.RESET_GPU, Action.REBOOT_HOST)


class Cause(StrEnum):
    """The name of what is wrong."""

    REFUSED = "refused"
    NOT_EXPOSED = "not_exposed"
    TIMEOUT = "timeout"
    HTTP_ERROR = "http_error"
    RUNNER_HUNG = "runner_hung"
    TUNNEL_DOWN = "tunnel_down"
    TUNNEL_STUCK = "tunnel_stuck"
    TUNNEL_PORT_TAKEN = "tunnel_port_taken"
    REMOTE_OLLAMA_DOWN = "remote_ollama_down"
    HOST_DOWN = "host_down"
    NO_ACCESS = "no_access"
    DNS = "dns"
    FORBIDDEN = "forbidden"
    NOT_OLLAMA = "not_ollama"
    RATE_LIMITED = "rate_limited"
    TLS = "tls"
    NO_TLS = "no_tls"
    PROXY = "proxy"
    MISCONFIGURED = "misconfigured"
    MONITOR = "monitor"
    BUSY = "busy"
    LOADING = "loading"
    STUCK_STOPPING = "stuck_stopping"
    CPU_FALLBACK = "cpu_fallback"
    MODELS_MISSING = "models_missing"
    SLOW = "slow"
    GPU_LOST = "gpu_lost"
    GPU_DRIVER_STUCK = "gpu_driver_stuck"
    GPU_DRIVER_MISMATCH = "gpu_driver_mismatch"
    GPU_DRIVER_ABSENT = "gpu_driver_absent"
    GPU_INIT_FAILED = "gpu_init_failed"
    GPU_RESET_NEEDED = "gpu_reset_needed"
    GPU_MEMORY_ERRORS = "gpu_memory_errors"
    GPU_UVM_MISSING = "gpu_uvm_missing"
    GPU_SUSPENDED = "gpu_suspended"
    GPU_CONTAINER_LOST = "gpu_container_lost"
    GPU_ABSENT = "gpu_absent"
    GPU_UNDISCOVERED = "gpu_undiscovered"
    GPU_POWER_BRAKE = "gpu_power_brake"
    GPU_HOT = "gpu_hot"
    GPU_VRAM_HELD = "gpu_vram_held"
    GPU_VRAM_TAKEN = "gpu_vram_taken"
    GPU_UNUSED = "gpu_unused"

    @property
    def is_of_gpu(self) -> bool:
        """Whether a look at the GPUs shows it, not a probe."""
        return self.value.startswith("gpu_")


class CauseFacts(Struct, frozen=True):
    """What follows from a cause."""

    verdict: Verdict
    action: Action
    words: str  # what is wrong, as the start of a sentence
    # What a person can do. It may contain {node}, {url}, {unit}, {log}, {tunnel_log}, {host}, {port},
    # {any_address}: all addresses of the host; {known_host}: the name under which ssh has the host's key.
    next_step: str
    tries: int = 0  # attempts within a day; 0: as many as the settings say
    # The state of a GPU in which a restart of Ollama does not help, or does harm, whatever a probe shows.
    rules_out_restart: bool = False
    calls: bool = False  # if the node fails, a person is called at once


_RESTART, _REBUILD, _NOTHING = Action.RESTART_OLLAMA, Action.REBUILD_TUNNEL, Action.NONE

CAUSES: dict[Cause, CauseFacts] = {
    Cause.REFUSED: CauseFacts(
        Verdict.FAILED,
        _RESTART,
        "Connection refused",
        "see why Ollama stopped: {log} on {host}",
    ),
    Cause.NOT_EXPOSED: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "Ollama answers on its own host, but not at {url}",
        "set OLLAMA_HOST={any_address} for {unit} on {host}, or open port {port} in its firewall",
    ),
    Cause.TIMEOUT: CauseFacts(
        Verdict.FAILED, _RESTART, "Timeout", "see whether Ollama hangs: {log} on {host}"
    ),
    Cause.HTTP_ERROR: CauseFacts(
        Verdict.FAILED, _RESTART, "HTTP error", "see why Ollama fails: {log} on {host}"
    ),
    Cause.RUNNER_HUNG: CauseFacts(
        Verdict.FAILED,
        _RESTART,
        "A loaded model does not answer",
        "see what its runner does: {log} and nvidia-smi on {host}",
    ),
    Cause.TUNNEL_DOWN: CauseFacts(
        Verdict.FAILED,
        _REBUILD,
        "Tunnel down, port {port} is closed",
        "see on the monitor: {tunnel_log}",
    ),
    Cause.TUNNEL_STUCK: CauseFacts(
        Verdict.FAILED,
        _REBUILD,
        "Tunnel stuck, port {port} does not answer",
        "see on the monitor: {tunnel_log}",
    ),
    Cause.TUNNEL_PORT_TAKEN: CauseFacts(
        Verdict.FAILED,
        _REBUILD,
        "Tunnel down, another process holds port {port}",
        "see which process: ss -ltnp 'sport = :{port}' on the monitor; stop it, "
        "or choose another mesh_tunnel_local_port",
    ),
    Cause.REMOTE_OLLAMA_DOWN: CauseFacts(
        Verdict.FAILED,
        _RESTART,
        "Ollama behind the tunnel is down",
        "see why Ollama stopped: {log} on {host}",
    ),
    Cause.HOST_DOWN: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "The host cannot be reached",
        "check power, network and sshd of {host}",
    ),
    Cause.NO_ACCESS: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "ssh answers, but the login fails",
        "try it by hand: ansible -m raw -a id {node}; if the host key changed on purpose: "
        "ssh-keygen -R {known_host}",
    ),
    Cause.DNS: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "The name does not resolve",
        "correct mesh_node_url of {node}, or the name server",
    ),
    Cause.FORBIDDEN: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "Access denied",
        "check mesh_node_headers of {node} and the proxy in front of it",
    ),
    Cause.NOT_OLLAMA: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "The answer is not Ollama's",
        "check mesh_node_url of {node} and the proxy in front of it",
    ),
    Cause.RATE_LIMITED: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "Requests are limited",
        "let the proxy in front of {node} pass two requests of the monitor at each check",
    ),
    Cause.TLS: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "TLS error",
        "renew the certificate of {url}, or name its CA in mesh_node_ca_file",
    ),
    Cause.NO_TLS: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "No TLS at port {port}",
        "begin mesh_node_url of {node} with http:// instead of https://, or correct its port",
    ),
    Cause.PROXY: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "The proxy that the monitor's environment names does not work",
        "correct http_proxy and https_proxy on the monitor, name the host of {node} in no_proxy, "
        "or set mesh_monitor_proxy_from_environment: false",
    ),
    Cause.MISCONFIGURED: CauseFacts(
        Verdict.FAILED, _NOTHING, "The probe cannot be sent", "correct mesh_node_* of {node} in the inventory"
    ),
    Cause.MONITOR: CauseFacts(
        Verdict.FAILED,
        _NOTHING,
        "The monitor could not probe it",
        "look at the monitor's own memory, open files and log; nothing is counted against {node}",
    ),
    Cause.BUSY: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "Its queue is full",
        "wait: it is working; or spread the load, or raise OLLAMA_MAX_QUEUE of {unit} on {host}",
    ),
    Cause.LOADING: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A model keeps loading",
        "let it finish, and restart nothing meanwhile; if it never ends, check disk and VRAM of {host}",
    ),
    Cause.STUCK_STOPPING: CauseFacts(
        Verdict.IMPAIRED, _RESTART, "A model does not unload", "restart {unit} on {host} when nobody uses it"
    ),
    Cause.CPU_FALLBACK: CauseFacts(
        Verdict.IMPAIRED,
        _RESTART,
        "A model runs on the CPU",
        "run nvidia-smi on {host}; a smaller model or context may be needed, or mesh_node_expects_gpu: false",
        tries=1,
    ),
    Cause.MODELS_MISSING: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "Models are missing",
        "check OLLAMA_MODELS and the user of {unit} on {host}, or pull the models again",
    ),
    Cause.SLOW: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "Far slower than usual",
        "see what else runs on {host}, and the network to it",
    ),
    Cause.GPU_LOST: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A GPU has fallen off the bus",
        "reboot {host}; if it is lost again, see its power cables, its seat and its temperature, "
        "or replace the card",
        rules_out_restart=True,
        calls=True,
    ),
    Cause.GPU_DRIVER_STUCK: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "The GPU's driver hangs",
        "reboot {host}: a process that waits for the driver cannot be ended, so a restart of Ollama would "
        "hang as well",
        rules_out_restart=True,
        calls=True,
    ),
    Cause.GPU_DRIVER_MISMATCH: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "The GPU's driver was updated, but the old one is still loaded",
        "reboot {host}, and do not restart {unit} before: models that are loaded go on working, "
        "but new ones cannot reach the GPU",
        rules_out_restart=True,
        calls=True,
    ),
    Cause.GPU_DRIVER_ABSENT: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "The GPU's driver is not loaded",
        "see why on {host}: sudo modprobe nvidia; after an update of the kernel, "
        "install the driver's module for it, then reboot",
        rules_out_restart=True,
    ),
    Cause.GPU_INIT_FAILED: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "The GPU's driver cannot start the card",
        "reboot {host}; if it still cannot, see what the driver says: sudo journalctl -k -g NVRM",
        rules_out_restart=True,
    ),
    Cause.GPU_RESET_NEEDED: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A GPU needs a reset",
        "reboot {host}; or stop all that uses the card, and run there: sudo nvidia-smi --gpu-reset -i NUMBER",
        rules_out_restart=True,
        calls=True,
    ),
    Cause.GPU_MEMORY_ERRORS: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A GPU has errors in its memory",
        "see on {host}: nvidia-smi -q -d ECC,ROW_REMAPPER; reset the card or reboot, "
        "and replace it if a row cannot be remapped",
    ),
    Cause.GPU_UVM_MISSING: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A model runs on the CPU, since the module nvidia_uvm is not loaded",
        "on {host}: stop {unit}, then sudo modprobe nvidia_uvm, and start it again",
        rules_out_restart=True,
    ),
    Cause.GPU_SUSPENDED: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A model runs on the CPU since the host was suspended",
        "on {host}: stop {unit}, then sudo rmmod nvidia_uvm, sudo modprobe nvidia_uvm, and start it again",
    ),
    Cause.GPU_CONTAINER_LOST: CauseFacts(
        Verdict.IMPAIRED,
        _RESTART,
        "A container has lost its GPU",
        "restart {unit} on {host}; if it comes back: set native.cgroupdriver=cgroupfs for Docker there",
        tries=1,
    ),
    Cause.GPU_ABSENT: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A GPU is missing",
        "see on {host}: lspci; then its seat and its power cables; if it was removed on purpose: "
        "gpu-mesh ack {node}, or correct mesh_node_expects_gpu",
        rules_out_restart=True,
    ),
    Cause.GPU_UNDISCOVERED: CauseFacts(
        Verdict.IMPAIRED,
        _RESTART,
        "Ollama found no GPU when it started, though the card is well",
        "see what it says of the GPU: {log} on {host}",
        tries=1,
    ),
    Cause.GPU_POWER_BRAKE: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A GPU is slowed down, since its power supply asks for it",
        "see the power supply and the power cables of {host}",
    ),
    Cause.GPU_HOT: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "A GPU is slowed down, since it is too hot",
        "see the fans, the dust and the air of {host}",
    ),
    Cause.GPU_VRAM_HELD: CauseFacts(
        Verdict.IMPAIRED,
        _RESTART,
        "A runner of Ollama holds GPU memory, though no model is loaded",
        "restart {unit} on {host}",
        tries=1,
    ),
    Cause.GPU_VRAM_TAKEN: CauseFacts(
        Verdict.IMPAIRED,
        _NOTHING,
        "GPU memory is in use, though no model is loaded",
        "see who uses it: nvidia-smi on {host}; end that, or let it share the card on purpose",
        rules_out_restart=True,
    ),
    Cause.GPU_UNUSED: CauseFacts(
        Verdict.IMPAIRED,
        _RESTART,
        "Ollama counts a model as in GPU memory, but it is not there",
        "restart {unit} on {host}",
        tries=1,
    ),
}


class Diagnosis(Struct, frozen=True):
    """The judgement of one observation."""

    verdict: Verdict
    cause: Cause | None = None  # None: nothing is wrong
    detail: str = ""  # the cause in words, with its number: "Timeout (10s)"
    explains: Cause | None = None  # what the probe named, if the GPU's state is the reason for it
