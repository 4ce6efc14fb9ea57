"""HTTP: JSON over basic authentication.

=============  ==================================================================================
routes         where: every path, and who is looked up for it
request        a request, and what Billy hangs on it
security       who: API keys, and the two permissions
limits         how often is too often: registrations, and keys that open nothing
contexts       the record that a path names, found through its company
api_view       how a view says what it needs, takes and returns
idempotency    what is done once, however often it is sent
parameters     how a query string, a form or a JSON body is read
schemas        what we accept: one schema a request
fields         … and the types of its parameters
instants       … and how dates are written
resources      what we emit: fields and types
serializers    … and the dicts with them
errors         what goes wrong: one table of status codes, one JSON body
pagination     lists
processing     what a view asks of the payment processor
operations     what the API can do, as the views say it
openapi        the document of that
components     … and its schemas
external_ids   inserting what may not be there twice
tweens         what surrounds every request: its id, its log line, CORS, the limit of its body
views          one file a noun
=============  ==================================================================================
"""
