"""Cloud users order servers, an administrator approves, CCUs pay for them."""
