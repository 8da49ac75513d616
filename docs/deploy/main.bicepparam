// Copy it, fill it in, keep it under version control: it holds no secret.
using 'main.bicep'

param prefix = 'casevault'
param administratorsId = '00000000-0000-0000-0000-000000000000'
param administratorsName = 'casevault administrators'
// While you set up: the address from which you run `casevault init` and publish. Afterwards: [], and deploy again.
param administratorAddresses = []
// The second deployment: '<registry>.azurecr.io/casevault@sha256:<digest>'
param image = ''
param blobHost = 'blobs.casevault.example.com'
param issuer = 'https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0'
// The API's own application: no client signs in by it, so no ID token names it.
param audience = '00000000-0000-0000-0000-000000000000'
param logOrigin = 'casevault.example.com/log'
// The second deployment: what `casevault init` prints.
param logVerifier = ''
param receiptVerifier = ''
param witnessBucket = 'casevault-witness'
param witnessRegion = 'eu-central-1'
param auditWorkspaceId = ''
