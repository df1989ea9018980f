"""The results as one page: read and check the documents, draw the charts, write the HTML."""
