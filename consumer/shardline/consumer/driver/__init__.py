"""The worker's driver: performs what the cores decide, on one asyncio loop, through the ports."""
