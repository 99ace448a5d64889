"""moto's services in this process: DynamoDB, CloudWatch, SQS, S3 and Firehose, every request behind one lock.

moto's models are not made for threads and are shared by the whole process; so is the lock.
"""
