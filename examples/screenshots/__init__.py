"""Pictures of the admin page, and the browser that takes them."""
