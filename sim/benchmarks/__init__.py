"""Published benchmark families."""
