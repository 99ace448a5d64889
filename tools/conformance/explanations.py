"""Why the others differ from the service: one sentence per backend and step."""

from __future__ import annotations

_MOTO_RESHARD = "moto lists a split parent as closed but goes on writing to it, so no shard ever ends."
_MOTO_NUMBERS = "moto counts 1, 2, 3 in each shard; an ending number is the last record's."
_SIZES = "kinesis-local judges sizes per record (the entry fails with InvalidArgumentException), not per request."
_CODES = "kinesis-local says InvalidArgumentException for every broken constraint; the model names ValidationException."

EXPLANATIONS: dict[tuple[str, str], str] = {
    ("moto", "records are placed by MD5, or by their hash key up to 2^128 - 1"): (
        "moto takes a range's end as excluded: a hash key equal to it has no shard, and the call breaks."
    ),
    ("moto", "an empty partition key is refused"): "moto does not check the length of a key.",
    ("moto", "a partition key of 257 characters is refused, one of 256 taken"): (
        "moto checks the key itself, under another name than the model's constraint."
    ),
    ("moto", "501 records and 0 records are refused, 500 taken"): "moto accepts an empty list.",
    ("moto", "with MaxRecordSizeInKiB 2048, 2 MiB are taken and one byte more refused"): (
        "moto has no UpdateMaxRecordSize."
    ),
    ("moto", "sequence numbers have 56 digits and grow, also across a split within a second"): _MOTO_NUMBERS,
    ("moto", "DryRun stores nothing"): "moto ignores DryRun and stores the record.",
    ("moto", "AT_TIMESTAMP in the future is refused"): "moto gives an iterator for any time.",
    ("moto", "a garbage iterator is refused as invalid"): "moto breaks while decoding it (HTTP 500).",
    ("moto", "a limit above 10,000 is refused"): "moto does not check the limit.",
    ("moto", "a page holds 10 MiB at most"): "moto has no limit of bytes per page.",
    (
        "moto",
        "split: the parent stays, closed, with its unread data; writes go to the children",
    ): _MOTO_RESHARD,
    ("moto", "the end of a closed shard: no next iterator, and its children"): _MOTO_RESHARD,
    ("moto", "EndingSequenceNumber lies above every record and below the children's first"): _MOTO_NUMBERS,
    ("moto", "merge: two parents, one child over both ranges, each record read once"): (
        "the range's excluded end again; and moto copies the parents' records into the child, to be read twice."
    ),
    ("moto", "UpdateShardCount beyond twice the shards is refused"): "moto does not limit the target.",
    ("moto", "ShardFilter AT_LATEST and AT_TRIM_HORIZON after a split"): "moto ignores ShardFilter.",
    ("moto", "ListShards pages by token"): "moto refuses a token that stands alone.",
    ("moto", "OpenShardCount after a split"): "moto counts open shards wrongly after a split.",
    ("moto", "a consumer's name twice is refused"): "moto registers the name a second time.",
    ("moto", "true is not equal to the number 1"): "moto compares Python values; DynamoDB compares types first.",
    ("moto", "a number as the key of an index is refused"): "moto does not check the types of index keys.",
    ("kinesis-local", "an empty partition key is refused"): _CODES,
    ("kinesis-local", "a partition key of 257 characters is refused, one of 256 taken"): _CODES,
    ("kinesis-local", "501 records and 0 records are refused, 500 taken"): "kinesis-local does not count the entries.",
    ("kinesis-local", "a record of 1 MiB with its key is taken, one byte more refused whole"): _SIZES,
    ("kinesis-local", "with MaxRecordSizeInKiB 2048, 2 MiB are taken and one byte more refused"): _SIZES,
    ("kinesis-local", "a request of more than 10 MiB is refused"): "kinesis-local has no limit for the whole request.",
    ("kinesis-local", "DryRun stores nothing"): "kinesis-local ignores DryRun and stores the record.",
    ("kinesis-local", "AT_TIMESTAMP in the future is refused"): (
        "kinesis-local gives an iterator for a time an hour ahead; the service's refusal is known from kinesalite."
    ),
    ("kinesis-local", "ShardFilter AT_LATEST and AT_TRIM_HORIZON after a split"): (
        "kinesis-local's AT_TRIM_HORIZON gives the children too, though they were not open at the horizon."
    ),
    ("kinesis-local", "a garbage iterator is refused as invalid"): "kinesis-local breaks while decoding it (HTTP 500).",
    ("kinesis-local", "a limit above 10,000 is refused"): _CODES,
    ("kinesis-local", "EndingSequenceNumber lies above every record and below the children's first"): (
        "kinesis-local gives 2^63 - 1, which is below every real number: never compare checkpoints with it."
    ),
    ("kinesis-local", "a split at the shard's own start is refused"): (
        "kinesis-local accepts it and leaves a child without a key."
    ),
}
