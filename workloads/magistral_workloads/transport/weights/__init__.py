"""Policy versions on their way from trainer to generators. The `store` backend goes through object storage."""
