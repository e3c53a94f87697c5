"""Every limit of the server, named. The protos' comments and docs/limits.md state the same numbers; tests compare."""

from tallybook_engine.ledger import pivot

EVENTS_IN_CALL_MAX = 10_000
"""Events of one IngestEvents or PredictCosts; more is TOO_MANY_EVENTS."""

EVENTS_IN_BATCH_MAX = 65_536
"""Events of one message of StreamingIngestEvents; more is TOO_MANY_EVENTS."""

SELECTORS_IN_CALL_MAX = 10_000
"""Events named in one DeleteEvents; more is TOO_MANY_SELECTORS."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Size of one request message; more is MESSAGE_TOO_LARGE."""

TRANSPORT_MESSAGE_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
"""Above this the transport itself refuses a request, without a reason, and breaks its stream."""

ARROW_BYTES_MAX = 64 * 1024 * 1024
"""Size of an Arrow stream once it is decompressed; more is ARROW_TOO_LARGE."""

ARROW_BATCHES_MAX = 1_024
"""Record batches and dictionaries of an Arrow stream; more is ARROW_TOO_LARGE."""

NAME_BYTES_MAX = pivot.NAME_BYTES_MAX
"""UTF-8 bytes of a reference, an id, a name, or the value of a property (255); more is a row fault."""

VALUES_IN_EVENT_MAX = pivot.VALUES_MAX
"""Values of one event (64); more is the row fault TOO_MANY_VALUES."""

PROPERTIES_IN_EVENT_MAX = pivot.PROPERTIES_MAX
"""Properties of one event (64); more is the row fault TOO_MANY_PROPERTIES."""

CELLS_IN_MESSAGE_MAX = EVENTS_IN_BATCH_MAX * VALUES_IN_EVENT_MAX
"""Events times distinct value names of one message, and the same of property names; more is TOO_MANY_NAMES."""

USAGE_CELLS_MAX = 67_108_864
"""Rows of usage times distinct properties of one request; more is TOO_MANY_NAMES. Each takes 4 bytes, given or not."""

READINGS_IN_REQUEST_MAX = 1_048_576
"""Readings of one billing request; more is TOO_MANY_READINGS."""

SUPERSEDED_READINGS_MAX = 16 * READINGS_IN_REQUEST_MAX
"""Stored readings that one billing request goes through, superseded ones too; more is TOO_MANY_READINGS."""

READINGS_AT_ONCE_MAX = 2_097_152
"""Stored readings, superseded ones too, that a stream of billing requests reads of many datasources at once: 150
megabytes at the very most. Where there are more, datasources are read by themselves."""

READINGS_IN_BATCH_MAX = 2_097_152
"""Readings of one message of IngestReadings; more is TOO_MANY_READINGS."""

BLOCKS_IN_BATCH_MAX = 65_536
"""Stretches of 32 days of channels that one message of IngestReadings touches; more is TOO_MANY_READINGS."""

REFUSED_DELIVERIES_MAX = 1_000
"""Refused deliveries that the answer to one message of IngestReadings shows."""

FAULT_TEXT_BYTES_MAX = 1_000
"""Bytes of an error's message as HTTP/2 carries it, and of each text of its metadata: clients take 8 KiB of trailers in
all. What is longer, as the name of something that is not there may be, is cut."""

ACKNOWLEDGED_MESSAGES_MAX = 1_000
"""Messages of one AcknowledgeBillingMessages; more is FIELD_INVALID."""

MESSAGES_BYTES_MAX = 3 * 1024 * 1024
"""A page of billing messages ends after documents of so many bytes; it has one message at least."""

DEMAND_READINGS_MAX = 1_048_576
"""Readings that the demands of a billing request look at, each demand's channels counted; more is TOO_MANY_READINGS."""

REQUESTED_CHANNELS_MAX = 256
"""Channels that a billing request asks for; more is TOO_MANY_DETERMINANTS."""

REQUESTED_DEMANDS_MAX = 64
"""Demands that a billing request asks for; more is TOO_MANY_DETERMINANTS."""

DETERMINANTS_IN_ANSWER_MAX = 65_536
"""Determinants of one answer, counted as if each had every slice; more is TOO_MANY_DETERMINANTS."""

TIMESLICE_CELLS_MAX = 1_048_576
"""Days of a period times window edges times slices of a group that it asks for; more is TOO_MANY_TIMESLICES."""

CONFIGURED_OBJECTS_MAX = 1_000
"""Datasources of a request's configuration, and channel classifiers."""

CONFIGURED_TABLES_MAX = 64
"""Timeslice groups of a request's configuration, holiday calendars, and quality tables."""

CIM_REQUEST_BYTES_MAX = 1_048_576
"""Size of a CIM request in a billing request; more is FIELD_INVALID."""

HISTORY_MONTHS_MAX = 1_200
"""Months that a demand scheme may look back, and peaks of its history."""

DEMAND_PEAKS_MAX = 1_000
"""Peaks that a demand scheme may count, and dates between them."""

INTERVAL_DAYS_MAX = 366
"""Days of one interval, window or block."""

QUOTE_DAYS_MAX = 1_000_000
"""Days of the period of a quote."""

BILLING_PERIODS_MAX = 1_000
"""Periods of one PreviewBillingDates, where period_count 0 is read as this too, and of one PreviewInvoice."""

INVOICE_LINES_MAX = 65_536
"""Lines of one invoice; more is INVOICE_TOO_LARGE."""

SANDBOXES_MAX = 16
"""Sandboxes of one book; more are TOO_MANY_SANDBOXES."""

SANDBOXES_OF_SERVER_MAX = 64
"""Sandboxes of one server; more are TOO_MANY_SANDBOXES."""

SANDBOX_BYTES_MAX = 268_435_456
"""Bytes of what is stored in one sandbox, as its journal keeps it; more is SANDBOX_FULL."""

SANDBOX_SECONDS_DEFAULT = 3_600
"""How long a sandbox lives where nothing is said."""

SANDBOX_SECONDS_MAX = 604_800
"""How long a sandbox may live; more is FIELD_INVALID."""

USAGE_ROWS_MAX = 2_097_152
"""Rows of usage of one RunSimulation; more is SIMULATION_TOO_LARGE."""

UPLOADED_ROWS_MAX = 10_000_000
"""Rows of one UploadUsage; more is SIMULATION_TOO_LARGE."""

UPLOADED_BYTES_MAX = 1_073_741_824
"""Bytes of the columns of one UploadUsage, as they are kept; more is SIMULATION_TOO_LARGE."""

UPLOADED_BYTES_OF_SERVER_MAX = 2_147_483_648
"""Bytes of all uploaded usage that a server keeps; more is TOO_MANY_USAGE_FRAMES."""

USAGE_FRAMES_MAX = 4
"""Uploaded frames of one book; more are TOO_MANY_USAGE_FRAMES."""

USAGE_FRAME_SECONDS = 3_600
"""How long uploaded usage is kept; then it is USAGE_FRAME_NOT_FOUND."""

KEPT_CHARGES_BYTES_MAX = 67_108_864
"""Bytes of the charges of one simulation, as they are streamed, that are kept; of more, none are."""

KEPT_CHARGES_OF_SERVER_BYTES_MAX = 268_435_456
"""Bytes of all charges that a server keeps; more take the place of the oldest."""

KEPT_CHARGES_SECONDS = 900
"""How long the charges of a simulation are kept after its end; then they are SIMULATION_EXPIRED."""

RECORDED_EVENTS_MAX = 10_000_000
"""Recorded events that one RunSimulation or CreateSandbox takes; more is RECORDED_USAGE_TOO_LARGE."""

SCENARIOS_MAX = 64
"""Scenarios of one RunSimulation; more is FIELD_INVALID."""

SIMULATIONS_MAX = 8
"""Simulations at work at once, over all books; more are OVERLOADED."""

SIMULATED_LINES_IN_MESSAGE = 16_384
"""Charge lines, or amounts of customers, of one message of RunSimulation."""

UNANSWERED_BATCHES_MAX = 16
"""Batches of one stream that are read and not yet answered; then the server stops reading the stream."""

UNANSWERED_REQUESTS_MAX = 64
"""Billing requests of one stream that are read and not yet answered; then the server stops reading the stream."""

UNANSWERED_BYTES_MAX = 512 * 1024 * 1024
"""Bytes of all messages that are read and not yet answered; then streams wait and other calls are OVERLOADED."""

GATHERED_BYTES_MAX = 128 * 1024
"""Bytes of the small IngestEvents calls that are staged together, and of the billing requests of a stream that are
computed together; a larger one goes alone."""

CALLS_MAX = 1_000
"""Calls at work at once; more are OVERLOADED."""

PAGE_SIZE_MAX = 1_000
"""Rows of a page; page_size 0 and more than this are read as this."""

PREDICTION_TIMEOUT_SECONDS_MAX = 5.0
"""How long costs may take after the call began; default and maximum of prediction_timeout."""

PREDICTION_DEADLINE_PERCENT = 80
"""Costs also may take no more than this part of the call's deadline."""

PUSHBACK_MS_MIN = 100
"""Shortest time that an OVERLOADED call is told to wait."""

PUSHBACK_MS_MAX = 400
"""Longest time that an OVERLOADED call is told to wait."""
