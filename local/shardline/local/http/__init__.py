"""The HTTP door: one port that speaks to the AWS SDKs (Kinesis from our state, the other services from moto).

Everything runs on one loop, one request after the other per connection; the state is touched only there.
"""
