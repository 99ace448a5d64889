"""The adapters to AWS: the only package that imports botocore, aiobotocore or aiohttp.

Who does what: aiobotocore finds credentials and refreshes them, resolves endpoints from region and configuration, and
signs (`session`); aiohttp pools connections, speaks TLS and HTTP/1.1 (`transport`); ours are the bodies, the answers
and the translation of faults into `shardline.common.errors` (`kinesis_wire`, `items`, `faults`), because botocore's
serializers and parsers cost three to five times the rest of a call (`performance.md` 3). No call is retried here, but
one: a request that was refused for its credentials or clock is rebuilt once after they were renewed.
"""
