"""Every reason that a user can meet in a condition or an Event, and the few numbers that are policy."""

# What is going on: Reconciling=True.
STAGE_RUNNING = "StageRunning"
"""A stage is at work."""
RETRYING = "Retrying"
"""An attempt of a stage failed through no fault of the user; the next one starts after a back-off."""
WAITING_FOR_RUN = "WaitingForRun"
"""A stage waits for another run, which a `runRef` of its spec names."""
UNSCHEDULABLE = "Unschedulable"
"""No node takes a pod at present; an autoscaler or a freed node may change that."""
CHECKPOINT_BEFORE_SUSPEND = "CheckpointBeforeSuspend"
"""spec.suspend is true, or Kueue evicted the run: trainers commit, at most for the runtime's checkpointGracePeriod."""
WAITING_FOR_QUOTA = "WaitingForQuota"
"""The run has no pods until Kueue admits it to its queue, again after an eviction."""
SUSPENDING = "Suspending"
"""As before, and no trainer is left: all other pods are being removed."""
REPLACING_LEFTOVERS = "ReplacingLeftovers"
"""Objects of an earlier run with this name are being removed first."""

# What waits for a person: Stalled=True, goes on by itself once repaired.
INVALID_SPEC = "InvalidSpec"
"""The run passed the schema but means nothing; the message names the field."""
RUNTIME_NOT_FOUND = "RuntimeNotFound"
"""No MagistralRuntime has the name in spec.runtimeRef."""
INVALID_RUNTIME = "InvalidRuntime"
"""The MagistralRuntime passed the schema but cannot be used; the message names the field."""
TOO_MANY_REPLICAS = "TooManyReplicas"
"""The run asks for more pods of a role than its runtime allows."""
WORLD_SIZE_MISMATCH = "WorldSizeMismatch"
"""A batch cannot be divided among the trainer processes."""
PREFLIGHT_FAILED = "PreflightFailed"
"""Preflight failed without giving a reason of its own."""
SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, no secret
"""The Secret with the store's credentials, or one of its keys, is missing in the run's namespace."""
CONTAINER_NOT_CREATED = "ContainerNotCreated"
"""The kubelet refuses to create a container; the message has its words."""
IMAGE_PULL_FAILED = "ImagePullFailed"
"""A node cannot get an image."""
CONTAINER_CRASHING = "ContainerCrashing"
"""A container ends again and again."""
PODS_REFUSED = "PodsRefused"
"""The API server refuses a workload's pods, by quota or admission."""
KUEUE_NOT_ENABLED = "KueueNotEnabled"
"""The run names a queue, but the operator was installed without kueue.enabled."""
PRIORITY_CLASS_NOT_FOUND = "PriorityClassNotFound"
"""The run names a WorkloadPriorityClass that does not exist."""
APPLY_REFUSED = "ApplyRefused"
"""The API server refuses an object that the run needs."""
MISSING_OUTPUT = "MissingOutput"
"""A finished stage did not report what the next one starts from."""
UNREADABLE_REPORT = "UnreadableReport"
"""What a stage wrote into the progress ConfigMap is not of the contract's shape."""

# How a run rests or ends.
SUSPENDED = "Suspended"
"""spec.suspend is true and every pod is gone."""
SUCCEEDED = "Succeeded"
"""Every stage succeeded."""
BAD_INPUT = "BadInput"
"""A process said by exit code 64 that trying again is useless."""
TOO_MANY_RESTARTS = "TooManyRestarts"
"""More restarts than failurePolicy.maxRestarts."""
TOO_MANY_INFRASTRUCTURE_RESTARTS = "TooManyInfrastructureRestarts"
"""More restarts after lost nodes and pods than failurePolicy.maxInfrastructureRestarts."""
DEADLINE_EXCEEDED = "DeadlineExceeded"
"""The run took longer than spec.activeDeadline."""

# Only in Events and stage statuses.
STAGE_STARTED = "StageStarted"
"""The operator started an attempt of a stage."""
STAGE_SUCCEEDED = "StageSucceeded"
"""A stage did what it is for."""
ATTEMPT_FAILED = "AttemptFailed"
"""One attempt of a stage failed."""
RESTARTS_DO_NOT_HELP = "RestartsDoNotHelp"
"""The trainers restarted in place without a new step; the whole group starts anew."""
NODE_LOST = "NodeLost"
"""The node of a pod is gone, not ready, or out of service."""
NODE_EXCLUDED = "NodeExcluded"
"""A node failed too often: nothing new of the run is placed on it, and trainers leave it."""
POD_FORCE_DELETED = "PodForceDeleted"
"""A pod that hung in Terminating on a lost node was removed, as spec.nodes.forceDelete of the runtime allows."""
NO_REPORT = "NoReport"
"""A stage's Job ended well but never reported success."""
DRIFT_CORRECTED = "DriftCorrected"
"""A child differed from what the operator wants and was set back."""
RESUMED = "Resumed"
"""spec.suspend was taken back."""
EXPIRED = "Expired"
"""The run was deleted ttlAfterFinished after its end."""

USER_FAULT_EXIT_CODE = 64
"""EX_USAGE of sysexits.h: the workloads' word for bad data."""
STOPPED_EXIT_CODE = 143
"""128 + SIGTERM: told to end, and everything that was to be saved is."""
KILLED_EXIT_CODE = 137
"""128 + SIGKILL."""
STUCK_RESTARTS = 2
"""So many restarts of trainers in place without a new step, and the whole group starts anew."""
DISRUPTION_ECHO_S = 600
"""A Job that fails so soon after it lost a pod fails because of it: its other pods broke off."""
NODE_INCIDENT_S = 300
"""Pods that a node loses within this time are one incident."""
BROKEN_GROUP_GRACE_S = 10
"""What trainers have to end when a checkpoint is out of reach."""
EXCLUDED_NODES = 32
"""At most so many nodes are avoided, the newest: an affinity is no place for a whole cluster."""
PREFLIGHT_BACKOFF_S = (5, 60)
"""First and longest wait between two looks at a store that failed; a repaired Secret should show soon."""
RETRY_BACKOFF_S = (10, 300)
"""First and longest wait before another attempt of a stage."""
NO_REPORT_GRACE_S = 30
"""A Job may be seen complete a moment before the report that preceded it."""
CRASHES_BEFORE_STALLED = 3
"""Trainers restart by design when a peer dies; three restarts of one container are no coincidence."""
WIND_DOWN_S = 120
"""How long a Job may stay after its stage reported success: large models take a while to leave memory."""
RELOOK_S = 15
"""How soon to look again for an object of Kueue's whose making wakes no run."""
SUSPEND_MARGIN_S = 30
"""How long after its time a trainer pod is still waited for: the kubelet needs a moment to end what it kills."""
SUSPEND_RETRY_S = 5
"""The end of a pod is a watch event; this is for the event that never comes."""
VOLUME_WAIT_S = 10
"""A pod that still creates its container after this may miss its token Secret."""

ANNOTATION_TEMPLATE = "training.magistral.dev/template"
"""Hash of the pod template that the operator wanted when it made the workload; of a Job, of its whole spec."""
FIELD_MANAGER = "magistral-operator"
"""Owner of the fields in server-side apply."""
